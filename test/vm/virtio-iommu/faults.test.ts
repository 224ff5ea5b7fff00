import { testFaultReports } from '../fault-reports.ts';

testFaultReports('a virtio IOMMU', false);
