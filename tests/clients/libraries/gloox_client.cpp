// A client with gloox, with what it announces unless told otherwise.
#include <cstdlib>
#include <iostream>
#include <string>

#include <gloox/client.h>
#include <gloox/connectionlistener.h>
#include <gloox/disco.h>

class Listener : public gloox::ConnectionListener {
    void onConnect() override { std::cerr << "connected" << std::endl; }
    void onDisconnect(gloox::ConnectionError error) override { std::cerr << "disconnected: " << error << std::endl; }
    bool onTLSConnect(const gloox::CertInfo&) override { return true; }
};

int main() {
    gloox::Client client(gloox::JID(std::string(std::getenv("JID")) + "/gloox"), std::getenv("PASSWORD"));
    Listener listener;
    client.registerConnectionListener(&listener);
    client.setServer("127.0.0.1");
    client.setPort(std::atoi(std::getenv("PORT")));
    client.connect();
}
