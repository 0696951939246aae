"""Units: fitting, bundles, transcription, formats, pseudo-text."""
