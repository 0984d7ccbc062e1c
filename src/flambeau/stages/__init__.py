"""Ready-made stages for pipelines: functions of a batch of rows."""
