"""The commands on policies: are the rules sound, do their examples hold, what would a change do."""
