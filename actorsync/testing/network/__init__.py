"""Network faults for tests: proxies that cut, delay and truncate connections."""
