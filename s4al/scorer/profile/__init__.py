"""Where the time of scoring goes, beside the bare network, the published loop and the bound."""
