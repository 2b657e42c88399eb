"""What ``fbshared demo`` shows: four workers, one connection, a flip, a kill, and every event counted."""
