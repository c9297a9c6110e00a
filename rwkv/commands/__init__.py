"""What each command does, given its configuration: files, processes and progress around the pure layers below."""
