import { testFaultReports } from './fault-reports.ts';

testFaultReports();
