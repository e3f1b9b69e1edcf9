"""The history of the database, in steps that can each be deployed on their own."""
