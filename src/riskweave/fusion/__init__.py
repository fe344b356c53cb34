"""How feature sets meet: from a design with several modalities to one time-to-event model."""
