"""The page: endless music computed in a listener's browser, as a static folder.

`page/` holds its files, plain JavaScript modules that no build step touches; `site` puts models
beside them, `server` serves the folder on this machine.
"""
