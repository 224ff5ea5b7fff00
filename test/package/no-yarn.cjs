// What yarn runs in a checkout.
console.error('This repository is installed with npm: run npm ci');
process.exitCode = 1;
