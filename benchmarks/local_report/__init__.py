"""The published torchpipe report, redone here: what is measured, how, and how it is told."""
