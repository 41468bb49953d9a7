# The one table of the mesh: what all nodes know of each. Public keys come from `wg pubkey`.
{
  hub = {
    pubkey = "mL8Lmg2uDHlCpX0LnGqBKiYgNJhdXJIbS3BCdn9OzFU=";
    address = "10.14.4.1";
    endpoint = "hub.example.org:51820"; # at least one node that others can reach
  };
  attic = {
    pubkey = "9l7dT8fPAyYfqTPtIrGHAfcV7FvGYYwT2aCFk/B0BRI=";
    address = "10.14.4.2";
  };
  cellar = {
    pubkey = "98FWu3tj+tSWWs+yOg7QNT0klgmrhH14GTLDxO5Bszg=";
    address = "10.14.4.3";
  };
}
