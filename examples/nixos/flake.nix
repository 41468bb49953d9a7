# A mesh of three NixOS machines. To add a fourth: a line in mesh.nix, a key in secrets/, and its hosts/NAME.nix.
#
#   secrets/gossip-secret.age   openssl rand -base64 32, encrypted to all nodes
#   secrets/NAME.age            wg genkey, encrypted to that node
#   hosts/NAME.nix              the machine itself: disks, boot loader, users
#
# A change of mesh.nix reloads the agents; nothing is restarted, and links that stay keep their session.
{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    agenix.url = "github:ryantm/agenix";
    agenix.inputs.nixpkgs.follows = "nixpkgs";
    wgautomesh.url = "git+https://git.example.org/wgautomesh"; # write where this repository lives
    wgautomesh.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      nixpkgs,
      agenix,
      wgautomesh,
      ...
    }:
    {
      nixosConfigurations = builtins.mapAttrs (
        name: _:
        nixpkgs.lib.nixosSystem {
          modules = [
            agenix.nixosModules.default
            wgautomesh.nixosModules.default
            ./member.nix
            (./hosts + "/${name}.nix")
            { networking.hostName = name; }
          ];
        }
      ) (import ./mesh.nix);
    };
}
