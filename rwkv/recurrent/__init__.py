"""The recurrent form: one person's reviews one at a time, with no future in reach."""
