"""The Start page: the story, the replay of training, the lesson."""
