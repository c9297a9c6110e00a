"""The recurrent form: an engine that predicts one person's reviews one at a time, from the past alone."""
