"""The embedded street scenes: what stands in a picture, how it is drawn, and the data set made of them."""
