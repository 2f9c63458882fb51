"""Real XMPP servers, real clients and capsd itself, each started privately and stopped by its process id."""
