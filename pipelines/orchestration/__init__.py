"""Jobs, schedules, sensors and the run reaper of Dagster."""
