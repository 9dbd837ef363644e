"""The status page in a real browser: the browser, a server of scripted states, and the states."""
