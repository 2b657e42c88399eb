"""What ``fbshared demo`` shows: four gunicorn workers, one connection, a flip, a kill, every event counted."""
