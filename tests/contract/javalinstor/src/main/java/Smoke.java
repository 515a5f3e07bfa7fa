import com.linbit.linstor.api.ApiClient;
import com.linbit.linstor.api.ApiException;
import com.linbit.linstor.api.Configuration;
import com.linbit.linstor.api.DevelopersApi;
import com.linbit.linstor.api.model.ApiCallRcList;
import com.linbit.linstor.api.model.AutoSelectFilter;
import com.linbit.linstor.api.model.NetInterface;
import com.linbit.linstor.api.model.Node;
import com.linbit.linstor.api.model.Properties;
import com.linbit.linstor.api.model.ProviderKind;
import com.linbit.linstor.api.model.ResourceDefinitionModify;
import com.linbit.linstor.api.model.ResourceGroup;
import com.linbit.linstor.api.model.ResourceGroupSpawn;
import com.linbit.linstor.api.model.ResourceMakeAvailable;
import com.linbit.linstor.api.model.ResourceWithVolumes;
import com.linbit.linstor.api.model.StoragePool;
import com.linbit.linstor.api.model.VolumeDefinitionModify;
import com.linbit.linstor.api.model.VolumeGroup;
import java.util.Collections;
import java.util.List;

/**
 * The calls of CloudStack's storage plug-in against a controller with three nodes' satellites at 10.99.0.11 to 13.
 * Prints each step and exits with 1 when one of them went wrong.
 */
public final class Smoke {
    private static boolean failed = false;

    private Smoke() {
    }

    private static void check(String step, ApiCallRcList entries) {
        expect(step, !entries.hasError());
    }

    private static void expect(String step, boolean found) {
        failed |= !found;
        System.out.println((found ? "ok " : "FAILED ") + step);
    }

    private static void nodes(DevelopersApi api) throws ApiException {
        for (int i = 1; i <= 3; i++) {
            NetInterface link = new NetInterface();
            link.setName("default");
            link.setAddress("10.99.0.1" + i);
            link.setSatellitePort(3366);
            link.setSatelliteEncryptionType(NetInterface.SatelliteEncryptionTypeEnum.PLAIN);
            Node node = new Node();
            node.setName("n" + i);
            node.setType(Node.TypeEnum.SATELLITE);
            node.setNetInterfaces(Collections.singletonList(link));
            check("create node", api.nodeAdd(node));
            StoragePool pool = new StoragePool();
            pool.setStoragePoolName("pthin");
            pool.setProviderKind(ProviderKind.FILE_THIN);
            pool.setProps(new Properties());
            pool.getProps().put("StorDriver/FileDir", "/srv/recorded/pools/n" + i + "/thin");
            check("create pool", api.nodeStoragePoolCreate("n" + i, pool));
        }
        expect("three nodes", api.nodeList(null, null, 0, 0).size() == 3);
        List<String> all = Collections.emptyList();
        expect("six pools", api.viewStoragePools(all, all, null, null, null, true).size() == 6);
    }

    private static void volumes(DevelopersApi api) throws ApiException {
        AutoSelectFilter filter = new AutoSelectFilter();
        filter.setPlaceCount(2);
        ResourceGroup group = new ResourceGroup();
        group.setName("cs");
        group.setSelectFilter(filter);
        check("create group", api.resourceGroupCreate(group));
        check("create volume group", api.volumeGroupCreate("cs", new VolumeGroup()));
        ResourceGroupSpawn spawn = new ResourceGroupSpawn();
        spawn.setResourceDefinitionName("cs-1");
        spawn.addVolumeSizesItem(65536L);
        check("spawn", api.resourceGroupSpawn("cs", spawn));
        List<String> all = Collections.emptyList();
        List<String> one = Collections.singletonList("cs-1");
        List<ResourceWithVolumes> view = api.viewResources(all, one, all, all, null, null);
        expect("two replicas and a tie-breaker", view.size() == 3);
        for (ResourceWithVolumes each : view) {
            expect("a device", each.getVolumes().get(0).getDevicePath().startsWith("/dev/drbd"));
            expect("not in use", !each.getState().isInUse());
        }
        expect("one volume definition",
            api.resourceDefinitionList(one, true, null, null, null).get(0).getVolumeDefinitions().size() == 1);
        ResourceMakeAvailable available = new ResourceMakeAvailable().diskful(false);
        check("make available", api.resourceMakeAvailableOnNode("cs-1", "n1", available));
        VolumeDefinitionModify larger = new VolumeDefinitionModify();
        larger.setSizeKib(131072L);
        check("grow", api.volumeDefinitionModify("cs-1", 0, larger));
        ResourceDefinitionModify change = new ResourceDefinitionModify();
        change.setOverrideProps(new Properties());
        change.getOverrideProps().put("DrbdOptions/Net/allow-two-primaries", "yes");
        check("change definition", api.resourceDefinitionModify("cs-1", change));
    }

    private static void clear(DevelopersApi api) throws ApiException {
        check("delete resource", api.resourceDelete("cs-1", "n1", true));
        check("delete definition", api.resourceDefinitionDelete("cs-1"));
        check("delete group", api.resourceGroupDelete("cs"));
        try {
            expect("a wrong name is refused", api.resourceGroupDelete("no such name").hasError());
        } catch (ApiException refused) {
            expect("a wrong name is refused", refused.getCode() == 500);
        }
    }

    public static void main(String[] arguments) throws ApiException {
        ApiClient client = Configuration.getDefaultApiClient();
        client.setBasePath(arguments[0]);
        DevelopersApi api = new DevelopersApi(client);
        expect("version", api.controllerVersion().getRestApiVersion().equals("1.28.0"));
        nodes(api);
        volumes(api);
        clear(api);
        System.exit(failed ? 1 : 0);
    }
}
