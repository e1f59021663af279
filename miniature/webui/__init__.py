"""The miniature WebUI: jobs, hooks, page and web API."""
