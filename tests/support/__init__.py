"""What tests stand on: real Redis servers, real processes, real browsers, and patience with a limit."""
