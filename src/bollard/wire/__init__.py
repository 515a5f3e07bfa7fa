"""Records on the network and their codecs. Pure: no sockets here."""
