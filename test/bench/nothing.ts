/** A program that needs nothing; see rows/startup.ts. */
export {};
