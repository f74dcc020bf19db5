"""The embedded MODEL: its checkpoints, and how they and its twins were trained."""
