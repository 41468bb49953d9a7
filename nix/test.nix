# A NixOS VM test: attic and cellar, each behind a router that masquerades, find each other through the hub.
# Asserts direct endpoints, and that restart and reload leave the session alone. Needs KVM to be quick.
{ lib, ... }:

let
  # Throwaway keys and a throwaway secret: they live in the store and protect nothing.
  mesh = {
    hub = {
      private = "g74ni5qdeotc32pTfr3EvydM2WkybO5tiy/25kz6xuE=";
      pubkey = "JTKWnSLDdx2Y/k2oGnfFGDOGnzP9ciXTP3qFN3lQxiI=";
      address = "10.14.4.1";
      endpoint = "203.0.113.1:51820";
    };
    attic = {
      private = "DK6yhMEUJzvpXw3xwroBsL+nbjzkxI/XqGWNMT1yask=";
      pubkey = "jmi5HIEEeZPrKdOthjr14zHeoh+7JmJ/ZHw2UwtArGw=";
      address = "10.14.4.2";
    };
    cellar = {
      private = "yC7bqr0hFqVMbJLf90Ov19EQXz/xU1U0xeCFg3RrEJQ=";
      pubkey = "98FWu3tj+tSWWs+yOg7QNT0klgmrhH14GTLDxO5Bszg=";
      address = "10.14.4.3";
    };
    # On no machine: there to be taken off the list by a reload.
    shed = {
      pubkey = "0GMfejwWa/NyDdDaCQ750JOICnI+O9fmarpKYSxveSM=";
      address = "10.14.4.4";
    };
  };
  peers = lib.mapAttrsToList (name: each: removeAttrs each [ "private" ] // { inherit name; });

  ethernet = address: {
    useDHCP = false;
    ipv4.addresses = lib.mkForce [
      {
        inherit address;
        prefixLength = 24;
      }
    ];
    ipv6.addresses = lib.mkForce [ ];
  };

  member = name: { pkgs, ... }: {
    imports = [ ./module.nix ];
    environment.systemPackages = [ pkgs.wireguard-tools ];
    system.switch.enable = true; # for the reload; test machines come without
    networking.firewall.allowedUDPPorts = [ 51820 ];
    networking.wireguard.interfaces.wg0 = {
      ips = [ "${mesh.${name}.address}/24" ];
      listenPort = 51820;
      privateKeyFile = toString (pkgs.writeText "key" mesh.${name}.private);
    };
    services.wgautomesh = {
      enable = true;
      gossipSecretFile = toString (pkgs.writeText "secret" "a secret of this test");
      settings = {
        interface = "wg0";
        peers = peers mesh;
      };
    };
    specialisation.without-shed.configuration.services.wgautomesh.settings.peers = lib.mkForce (
      peers (removeAttrs mesh [ "shed" ])
    );
  };

  behind =
    { name, vlan, router }:
    {
      imports = [ (member name) ];
      virtualisation.vlans = [ vlan ];
      networking.interfaces.eth1 = ethernet "192.168.${toString vlan}.10";
      networking.defaultGateway = lib.mkForce router;
    };

  router =
    { vlan, outside }:
    {
      virtualisation.vlans = [
        1
        vlan
      ];
      networking = {
        interfaces.eth1 = ethernet outside;
        interfaces.eth2 = ethernet "192.168.${toString vlan}.1";
        nat = {
          enable = true;
          externalInterface = "eth1";
          internalInterfaces = [ "eth2" ];
        };
      };
    };
in
{
  name = "wgautomesh";

  nodes = {
    hub = {
      imports = [ (member "hub") ];
      virtualisation.vlans = [ 1 ];
      networking.interfaces.eth1 = ethernet "203.0.113.1";
    };
    atticRouter = router {
      vlan = 2;
      outside = "203.0.113.2";
    };
    cellarRouter = router {
      vlan = 3;
      outside = "203.0.113.3";
    };
    attic = behind {
      name = "attic";
      vlan = 2;
      router = "192.168.2.1";
    };
    cellar = behind {
      name = "cellar";
      vlan = 3;
      router = "192.168.3.1";
    };
  };

  testScript = ''
    ATTIC, CELLAR, SHED = "${mesh.attic.pubkey}", "${mesh.cellar.pubkey}", "${mesh.shed.pubkey}"

    def peers(machine, what):
        """What `wg show wg0 WHAT` says, by key."""
        return dict(line.split("\t") for line in machine.succeed(f"wg show wg0 {what}").splitlines())

    def direct(machine, key, address, outside):
        machine.wait_until_succeeds(f"ping -c 1 -W 1 {address}", timeout=60)
        endpoint = peers(machine, "endpoints")[key]
        assert endpoint.startswith(outside + ":"), f"{machine.name} uses {endpoint}"

    def main_pid(machine):
        return machine.succeed("systemctl show -P MainPID wgautomesh").strip()

    start_all()
    for machine in hub, attic, cellar:
        machine.wait_for_unit("wgautomesh.service")

    with subtest("two nodes behind two NATs are linked directly"):
        direct(attic, CELLAR, "10.14.4.3", "203.0.113.3")
        direct(cellar, ATTIC, "10.14.4.2", "203.0.113.2")

    with subtest("the secret is neither in the unit's environment nor in the configuration"):
        process = f"/proc/{main_pid(attic)}"
        for place in "/etc/wgautomesh.toml", f"{process}/environ", f"{process}/cmdline":
            attic.fail(f"grep -q 'a secret of this test' {place}")

    # A handshake is renewed every two minutes: what follows begins right after one.
    with subtest("an interface made anew is found, and linked again"):
        attic.succeed("systemctl restart wireguard-wg0.service")
        direct(attic, CELLAR, "10.14.4.3", "203.0.113.3")

    with subtest("a restart leaves the session alone"):
        before = peers(attic, "latest-handshakes")[CELLAR], main_pid(attic)
        attic.succeed("systemctl restart wgautomesh")
        attic.succeed("ping -c 5 -i 0.2 -W 1 10.14.4.3")
        after = peers(attic, "latest-handshakes")[CELLAR], main_pid(attic)
        assert after[0] == before[0], "the handshake was made anew"
        assert after[1] != before[1], "the agent was not restarted"

    with subtest("other peers mean a reload, and links that stay keep their session"):
        attic.wait_until_succeeds(f"wg show wg0 peers | grep -qF {SHED}", timeout=30)
        before = peers(attic, "latest-handshakes")[CELLAR], main_pid(attic)
        attic.succeed("/run/current-system/specialisation/without-shed/bin/switch-to-configuration test")
        attic.wait_until_fails(f"wg show wg0 peers | grep -qF {SHED}", timeout=30)
        after = peers(attic, "latest-handshakes")[CELLAR], main_pid(attic)
        assert after == before, f"from {before} to {after}"
        attic.succeed("ping -c 5 -i 0.2 -W 1 10.14.4.3")
  '';
}
