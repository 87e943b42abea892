"""Which layout a data folder has: names in folders, patterns, pairs, splits; COCO's annotations. Knows no pixels."""
