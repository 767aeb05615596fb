"""Pictures of images: the most exposed training images and recovered triggers."""
