/** A program that imports the package as it is published, and does nothing; see rows/startup.ts. */
import 'userdma';
