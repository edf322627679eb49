"""The made-up operator: catalogue → clients → behaviour → log, with the truth available to tests."""
