"""People label regions: the store of answers, the page in the browser, and the formats of other tools."""
