"""What learners make of images without labels: teachers, their pseudo-labels, mixtures, views, replay."""
