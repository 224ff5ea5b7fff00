/** A program that imports one entry of the package as it is published, and does nothing; see rows/startup.ts. */
await import(process.argv[2]!);
