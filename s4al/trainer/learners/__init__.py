"""Learners: how labelled and unlabelled images are learnt from; one file a method, `all` is the list."""
