"""Two folders that users change while a two-way run is killed or loses its connections, and what must hold after it."""
