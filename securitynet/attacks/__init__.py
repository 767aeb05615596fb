"""The attacks: `attacks/<family>/<name>.py` is the attack `<family>/<name>`."""
