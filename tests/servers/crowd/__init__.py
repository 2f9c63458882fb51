"""Many clients in one room, and what they are asked: counted at the clients, with capsd and without."""
