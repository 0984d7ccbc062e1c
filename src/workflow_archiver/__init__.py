"""``torch-workflow-archiver`` as a library, under its own name; everything behind it is Flambeau."""
