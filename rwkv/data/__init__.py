"""Review histories: from parquet files to segments of rows. NumPy only."""
