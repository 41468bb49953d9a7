# What makes a machine a member of the mesh: its WireGuard interface, and the agent with the table's peers.
{ config, lib, ... }:

let
  mesh = import ./mesh.nix;
  me = config.networking.hostName;
in
{
  # agenix decrypts both at activation; sops-nix serves as well (sops.secrets.NAME.path below).
  age.secrets = {
    gossip-secret.file = ./secrets/gossip-secret.age;
    wireguard-key.file = ./secrets + "/${me}.age";
  };

  networking.wireguard.interfaces.wg0 = {
    ips = [ "${mesh.${me}.address}/24" ];
    listenPort = 51820;
    privateKeyFile = config.age.secrets.wireguard-key.path;
  };
  networking.firewall.allowedUDPPorts = [ 51820 ];

  services.wgautomesh = {
    enable = true;
    gossipSecretFile = config.age.secrets.gossip-secret.path;
    settings = {
      interface = "wg0";
      # The node itself may be on the list, so all have the same.
      peers = lib.mapAttrsToList (name: node: node // { inherit name; }) mesh;
    };
  };
}
