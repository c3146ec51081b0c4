"""Other engines that run dynamics from the settings of a run."""
