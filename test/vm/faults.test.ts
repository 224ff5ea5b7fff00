import { testFaultReports } from './fault-reports.ts';

testFaultReports('Intel VT-d', true);
