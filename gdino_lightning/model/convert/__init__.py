"""Names of other programs for the same weights: the official code's and MMDetection's, by table.

`tables` says what a row of a table is, `official` and `mmdet` are the tables, `sizes` counts the layers they are
written out for, `settings` reads the configuration off the shapes, `state` applies a table either way and lists what
does not fit, `files` reads files of weights, `words` finds the tokenizer of one, `write` writes an official `.pth`.
"""
