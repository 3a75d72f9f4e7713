"""What a generator is told along time: labels of recordings, and the annotators that make them."""
