"""One job of the WebUI, from the checks before sampling to the delivered pictures."""
