"""What the rounds of agents may do in their town: each reaches it through a socket of its own, with the rights of its round."""
