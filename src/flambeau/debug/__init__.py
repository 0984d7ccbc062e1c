"""One model in this process, watched: what each of its stages is given, what it gives, and how long it takes."""
